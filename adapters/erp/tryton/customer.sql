with {{>company.sql}}
select p.id as key,
       p.code as customer,
       list.name as price_list
  from party_party p
 cross join company c
  left join lateral (
       select v.sale_price_list
         from party_party_sale_price_list v
        where v.party = p.id and (v.company = c.company or v.company is null)
        order by v.company nulls last, v.id
        limit 1
       ) own on true
  left join lateral (
       select v.sale_price_list
         from sale_configuration_sale_price_list v
        where v.company = c.company or v.company is null
        order by v.company nulls last, v.id
        limit 1
       ) fallback on true
  left join product_price_list list on list.id = coalesce(own.sale_price_list, fallback.sale_price_list) and list.active
 where p.id = any($1) and p.active and p.code <> '' and p.id <> c.party
