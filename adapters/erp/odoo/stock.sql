with {{>company.sql}}, {{>item.sql}}, house as (
  select w.id, w.code, v.parent_path
    from stock_warehouse w
    join company on company.id = w.company_id
    join stock_location v on v.id = w.view_location_id
   where {{#warehouses}}w.code = any({{warehouses}}){{/warehouses}}{{^warehouses}}w.active{{/warehouses}}
), place as (
  select house.id as house, l.id from house join stock_location l on l.parent_path like house.parent_path || '%'
), held as (
  -- the sum of each column: a quant that was inserted beside a locked one has no quantity
  select q.product_id, place.house, sum(q.quantity) as quantity, sum(q.reserved_quantity) as reserved
    from stock_quant q join place on place.id = q.location_id
   where q.product_id = any($1)
   group by 1, 2
), moving as (
  select m.product_id, h.id as house, -m.product_qty as leaving, 0 as coming
    from stock_move m
    join place source on source.id = m.location_id
    join house h on h.id = source.house
   where {{sellable}} in ('forecast', 'promised') and m.product_id = any($1)
     and m.state in ('waiting', 'confirmed', 'assigned', 'partially_available')
     and not exists (select from place p
                      where p.house = h.id and p.id = coalesce(m.location_final_id, m.location_dest_id))
  union all
  select m.product_id, h.id, 0, m.product_qty
    from stock_move m
    join place target on target.id = coalesce(m.location_final_id, m.location_dest_id)
    join house h on h.id = target.house
   where {{sellable}} in ('forecast', 'promised') and m.product_id = any($1)
     and m.state in ('waiting', 'confirmed', 'assigned', 'partially_available')
     and not exists (select from place p where p.house = h.id and p.id = m.location_id)
), planned as (
  select product_id, house, sum(leaving) as leaving, sum(coming) as coming from moving group by 1, 2
)
select item.id as key, item.sku, house.code as location,
       round((coalesce(held.quantity, 0)
         - case when {{sellable}} = 'free' then coalesce(held.reserved, 0) else 0 end
         + coalesce(planned.leaving, 0)
         + case when {{sellable}} = 'forecast' then coalesce(planned.coming, 0) else 0 end
       ) / item.unit) * item.unit as available
  from item
  join product_template t on t.id = item.template and t.is_storable
  cross join house
  left join held on held.product_id = item.id and held.house = house.id
  left join planned on planned.product_id = item.id and planned.house = house.id
