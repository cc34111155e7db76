-- variants on sale of the keys that are asked for
item as (
  select p.id, t.id as template, t.categ_id, u.rounding as unit,
         case when {{sku}} = 'barcode' then p.barcode else p.default_code end as sku
    from product_product p
    join product_template t on t.id = p.product_tmpl_id
    join uom_uom u on u.id = t.uom_id
    cross join company
   where p.id = any($1) and p.active and t.active
     and (t.company_id is null or t.company_id = company.id)
     and case when {{sku}} = 'barcode' then p.barcode else p.default_code end <> ''
     {{#on_sale}}and t.sale_ok{{/on_sale}}
)
